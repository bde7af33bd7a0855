package chatsecure

import (
	"testing"

	"chatsecure/proto"
)

func TestRelayForwards(t *testing.T) {
	rt := startRelayTest(t)
	ana, bruno := rt.join("ana"), rt.join("bruno")
	if got := ana.list(""); got != "ana messages,bruno messages" {
		t.Errorf("list is %q", got)
	}
	seq := ana.to(bruno, "hello")
	m := bruno.want(proto.TypeClientCom)
	if m.Src != "ana" || m.SrcID != ana.id || m.Dst != "bruno" || m.DstID != bruno.id || string(m.body) != "hello" {
		t.Errorf("got %+v %q", m.Header, m.body)
	}
	ack := ana.want(proto.TypeAck)
	if ack.DstID != bruno.id || *ack.Answers != seq {
		t.Errorf("ack %+v", ack.Header)
	}
}

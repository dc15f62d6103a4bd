// The unmodified Go SDK against a real server, in both encodings: connect, subscribe, publish, be cut off,
// recover.
package sdk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

// A wait that a machine under any load outlasts; to reach it is to fail.
const patience = 60 * time.Second

const secret = "a secret of these tests, which needs 32 bytes"

// token is one of this user (JWT, HS256).
func token(user string) string {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"sub":%q,"exp":%d}`, user, time.Now().Add(time.Hour).Unix())
	signed := part([]byte(`{"alg":"HS256"}`)) + "." + part([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + part(mac.Sum(nil))
}

// startServer gives the address of a server with the rules of `server.toml`, which ends with the test.
func startServer(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := listener.Addr().String()
	must(t, listener.Close())
	file := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(file, []byte(secret), 0o600))
	server := os.Getenv("SERVER_BIN")
	if server == "" {
		server = "../../../target/release/hubbub"
	}
	command := exec.Command(server, "--config", "../server.toml", "--token-secret", file, "--listen", address)
	must(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if connection, err := net.Dial("tcp", address); err == nil {
			_ = connection.Close()
			return address
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer")
		}
	}
}

// line is a wire to an address that can be cut and mended.
type line struct {
	listener net.Listener
	lock     sync.Mutex
	isCut    bool
	wires    []net.Conn
}

func newLine(t *testing.T, target string) *line {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	it := &line{listener: listener}
	t.Cleanup(func() { _ = listener.Close(); it.cut() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			it.join(client, target)
		}
	}()
	return it
}

func (it *line) join(client net.Conn, target string) {
	it.lock.Lock()
	defer it.lock.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil || it.isCut {
		_ = client.Close()
		return
	}
	it.wires = append(it.wires, client, server)
	carry := func(from, to net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	go carry(client, server)
	go carry(server, client)
}

// cut ends all connections without a goodbye, and lets none through until the line is mended.
func (it *line) cut() {
	it.lock.Lock()
	defer it.lock.Unlock()
	it.isCut = true
	for _, wire := range it.wires {
		_ = wire.Close()
	}
}

func (it *line) mend() {
	it.lock.Lock()
	defer it.lock.Unlock()
	it.isCut = false
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case it := <-from:
		return it
	case <-time.After(patience):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

type newClient func(string, centrifuge.Config) *centrifuge.Client

func connected(t *testing.T, create newClient, it *line, user string) *centrifuge.Client {
	client := create("ws://"+it.listener.Addr().String()+"/connection/websocket", centrifuge.Config{
		Token:              token(user),
		ReadTimeout:        patience,
		WriteTimeout:       patience,
		HandshakeTimeout:   patience,
		MaxServerPingDelay: patience,
		MinReconnectDelay:  20 * time.Millisecond,
		MaxReconnectDelay:  200 * time.Millisecond,
	})
	t.Cleanup(client.Close)
	connected := make(chan struct{}, 16)
	client.OnConnected(func(centrifuge.ConnectedEvent) { connected <- struct{}{} })
	must(t, client.Connect())
	next(t, connected)
	return client
}

func recovers(t *testing.T, create newClient) {
	address := startServer(t)
	ofAda := newLine(t, address)
	ada, grace := connected(t, create, ofAda, "ada"), connected(t, create, newLine(t, address), "grace")
	const room = "chat:go"
	subscription, err := ada.NewSubscription(room, centrifuge.SubscriptionConfig{Positioned: true, Recoverable: true})
	must(t, err)
	subscribed := make(chan centrifuge.SubscribedEvent, 16)
	subscribing := make(chan centrifuge.SubscribingEvent, 16)
	published := make(chan string, 1024)
	subscription.OnSubscribed(func(event centrifuge.SubscribedEvent) { subscribed <- event })
	subscription.OnSubscribing(func(event centrifuge.SubscribingEvent) { subscribing <- event })
	subscription.OnPublication(func(event centrifuge.PublicationEvent) { published <- string(event.Data) })
	must(t, subscription.Subscribe())
	next(t, subscribing)
	if began := next(t, subscribed); !began.Recoverable || began.Recovered {
		t.Fatalf("%+v", began)
	}

	said := 0
	say := func(count int) {
		for ; count > 0; count-- {
			_, err := grace.Publish(context.Background(), room, fmt.Appendf(nil, `{"n":%d}`, said))
			must(t, err)
			said++
		}
	}
	heard := 0
	hear := func(count int) {
		for ; count > 0; count-- {
			if text := next(t, published); text != fmt.Sprintf(`{"n":%d}`, heard) {
				t.Fatalf("expected %d: %s", heard, text)
			}
			heard++
		}
	}
	say(200)
	hear(200)

	ofAda.cut()
	next(t, subscribing)
	say(50)
	ofAda.mend()
	if again := next(t, subscribed); !again.WasRecovering || !again.Recovered {
		t.Fatalf("%+v", again)
	}
	say(1)
	hear(51)
	stats, err := subscription.PresenceStats(context.Background())
	must(t, err)
	if stats.NumClients != 1 || stats.NumUsers != 1 {
		t.Fatalf("%+v", stats)
	}
	page, err := grace.History(context.Background(), room, centrifuge.WithHistoryLimit(3))
	must(t, err)
	if len(page.Publications) != 3 || page.Offset != uint64(said) {
		t.Fatalf("%+v", page)
	}
}

func TestClientThatWasCutOffGetsExactlyWhatItMissedInJSON(t *testing.T) {
	recovers(t, centrifuge.NewJsonClient)
}

func TestClientThatWasCutOffGetsExactlyWhatItMissedInProtobuf(t *testing.T) {
	recovers(t, centrifuge.NewProtobufClient)
}

func TestClientWithoutATokenIsRefusedForGood(t *testing.T) {
	it := newLine(t, startServer(t))
	client := centrifuge.NewJsonClient("ws://"+it.listener.Addr().String()+"/connection/websocket", centrifuge.Config{})
	t.Cleanup(client.Close)
	disconnected := make(chan centrifuge.DisconnectedEvent, 16)
	client.OnDisconnected(func(event centrifuge.DisconnectedEvent) { disconnected <- event })
	must(t, client.Connect())
	if event := next(t, disconnected); event.Code != 3501 {
		t.Fatalf("%+v", event)
	}
}

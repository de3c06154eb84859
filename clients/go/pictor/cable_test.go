package pictor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// cable is a TCP line between client and gateway that a test can break.
type cable struct {
	address string
	mutex   sync.Mutex
	ends    []net.Conn
}

// plugged is a line to target; with a certificate the client's end of it speaks TLS.
func plugged(t *testing.T, target string, certificate *tls.Certificate) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	if certificate != nil {
		config := &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"h2"}}
		listener = tls.NewListener(listener, config)
	}
	line := &cable{address: listener.Addr().String()}
	t.Cleanup(func() { listener.Close(); line.cut() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				near.Close()
				continue
			}
			line.mutex.Lock()
			line.ends = append(line.ends, near, far)
			line.mutex.Unlock()
			go pass(near, far)
			go pass(far, near)
		}
	}()
	return line
}

func pass(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

// cut breaks every connection that is open, without a word to either side.
func (c *cable) cut() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, end := range c.ends {
		if plain, ok := end.(*net.TCPConn); ok {
			plain.SetLinger(0)
		}
		end.Close()
	}
	c.ends = nil
}

// selfSigned is a certificate for 127.0.0.1, and the roots that trust it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	parsed, err := x509.ParseCertificate(der)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// forward LISTEN DIAL joins every connection made to LISTEN with a new one to DIAL. Both are unix:PATH or tcp:HOST:PORT.
// A unix socket is found by path, whatever the network namespace: two forwards, one on each side, carry TCP across.
func forward(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: forward unix:PATH|tcp:HOST:PORT unix:PATH|tcp:HOST:PORT")
	}
	network, address, _ := strings.Cut(args[0], ":")
	if network == "unix" {
		os.Remove(address) // left by a forward that was killed
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go join(client, args[1])
	}
}

func join(client net.Conn, target string) {
	defer client.Close()
	network, address, _ := strings.Cut(target, ":")
	server, err := net.Dial(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer server.Close()
	go copyHalf(server, client)
	copyHalf(client, server)
}

// copyHalf hands the end of one direction on and leaves the other open: an exec's input ends before its output does.
func copyHalf(to, from net.Conn) {
	io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"time"
)

// Client speaks HTTP/1.1 over one connection that it keeps. It does what a load generator needs and
// no more, so that on a shared machine little of what is measured is the measuring.
type Client struct {
	Addr    string
	APIKey  string
	Prefer  string        // the header Prefer; empty: none
	Cell    string        // the header Wallet-Cell; empty: none
	Timeout time.Duration // of one request

	conn    net.Conn
	reader  *bufio.Reader
	request []byte
	body    []byte
}

// response is valid until the client's next request.
type response struct {
	Status int
	Body   []byte
}

// Do sends a request and reads its answer. After an error the next request opens a new connection;
// whether the server has acted on this one is not known.
func (c *Client) Do(method, path, idempotencyKey string, body []byte) (response, error) {
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.Addr, c.Timeout)
		if err != nil {
			return response{}, err
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 4096)
	}
	c.request = append(c.request[:0], method...)
	c.request = append(append(append(c.request, ' '), path...), " HTTP/1.1\r\nHost: "...)
	c.request = append(append(append(c.request, c.Addr...), "\r\nAuthorization: Bearer "...), c.APIKey...)
	c.request = append(c.request, "\r\n"...)
	if idempotencyKey != "" {
		c.request = append(append(append(c.request, "Idempotency-Key: "...), idempotencyKey...), "\r\n"...)
	}
	if c.Prefer != "" {
		c.request = append(append(append(c.request, "Prefer: "...), c.Prefer...), "\r\n"...)
	}
	if c.Cell != "" {
		c.request = append(append(append(c.request, "Wallet-Cell: "...), c.Cell...), "\r\n"...)
	}
	if body != nil {
		c.request = append(c.request, "Content-Type: application/json\r\nContent-Length: "...)
		c.request = append(strconv.AppendInt(c.request, int64(len(body)), 10), "\r\n"...)
	}
	c.request = append(append(c.request, "\r\n"...), body...)
	r, err := c.exchange()
	if err != nil {
		c.Close()
	}
	return r, err
}

func (c *Client) exchange() (response, error) {
	if err := c.conn.SetDeadline(time.Now().Add(c.Timeout)); err != nil {
		return response{}, err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return response{}, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return response{}, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return response{}, fmt.Errorf("status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return response{}, fmt.Errorf("status line %q", line)
	}
	length, chunked, last := -1, false, false
	for {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			return response{}, err
		}
		name, value, found := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		if !found {
			break
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return response{}, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if err := c.readBody(length, chunked); err != nil {
		return response{}, err
	}
	if last {
		c.Close()
	}
	return response{status, c.body}, nil
}

func (c *Client) readBody(length int, chunked bool) error {
	if chunked {
		body := bytes.NewBuffer(c.body[:0])
		_, err := body.ReadFrom(httputil.NewChunkedReader(c.reader))
		c.body = body.Bytes()
		if err != nil {
			return err
		}
		_, err = c.reader.ReadSlice('\n') // after the last chunk
		return err
	}
	if length < 0 {
		return errors.New("the answer has no length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err := io.ReadFull(c.reader, c.body)
	return err
}

func (c *Client) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

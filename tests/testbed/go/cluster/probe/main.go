// Command probe asks from inside a pod what a test wants to know about the network.
//
//	probe get [-timeout 3s] [-ca FILE] URL     GET; prints the status code on the first line, then the body
//	probe dial [-timeout 3s] HOST:PORT         TCP connect; prints "open", or "timeout", "refused", "unreachable", "unknown-host"
//	probe load [-for 5s] [-rate 200] [-close] URL   GETs at a fixed rate; prints one JSON object of counts
//	probe reach [-timeout 2s] [-closed HOST:PORT] TARGET...   dials each HOST:PORT and looks up each name, all at once; prints a line
//	                                           "TARGET open" (or why not) for each, and a line "token FILE" for each file that holds
//	                                           a token; with -closed it first waits until that address does not answer any more
//	probe sleep                                does nothing until it is stopped
//
// Exit code 0 when an answer came (whatever its status), 1 when none came, 2 on wrong use.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		usage()
	}
	switch os.Args[1] {
	case "get":
		get(os.Args[2:])
	case "dial":
		dial(os.Args[2:])
	case "load":
		load(os.Args[2:])
	case "reach":
		reach(os.Args[2:])
	case "sleep":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		<-signals
	case "pass":
		fmt.Println("passed")
	default:
		usage()
	}
}

func get(args []string) {
	flags := flag.NewFlagSet("get", flag.ExitOnError)
	timeout := flags.Duration("timeout", 3*time.Second, "for the whole request")
	authority := flags.String("ca", "", "PEM file to trust")
	_ = flags.Parse(args)
	client := http.Client{Timeout: *timeout, Transport: transport(*authority, false)}
	response, err := client.Get(flags.Arg(0))
	if err != nil {
		fmt.Println(reason(err))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer response.Body.Close()
	fmt.Println(response.StatusCode)
	_, _ = io.Copy(os.Stdout, response.Body)
}

func dial(args []string) {
	flags := flag.NewFlagSet("dial", flag.ExitOnError)
	timeout := flags.Duration("timeout", 3*time.Second, "for the connection")
	_ = flags.Parse(args)
	connection, err := net.DialTimeout("tcp", flags.Arg(0), *timeout)
	if err != nil {
		fmt.Println(reason(err))
		os.Exit(1)
	}
	_ = connection.Close()
	fmt.Println("open")
}

// reach ends with code 0 whatever it finds, and with 1 if the address of -closed stays open.
func reach(args []string) {
	flags := flag.NewFlagSet("reach", flag.ExitOnError)
	timeout := flags.Duration("timeout", 2*time.Second, "for each target")
	closed := flags.String("closed", "", "wait until this HOST:PORT is closed")
	_ = flags.Parse(args)
	if *closed != "" {
		for end := time.Now().Add(30 * time.Second); try(*closed, *timeout) == "open"; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				fmt.Println(*closed, "stays open")
				os.Exit(1)
			}
		}
	}
	found := make([]string, flags.NArg())
	var group sync.WaitGroup
	for index, target := range flags.Args() {
		group.Add(1)
		go func() {
			defer group.Done()
			found[index] = try(target, *timeout)
		}()
	}
	group.Wait()
	for index, target := range flags.Args() {
		fmt.Println(target, found[index])
	}
	tokens()
}

// try dials HOST:PORT, or looks up a name.
func try(target string, timeout time.Duration) string {
	if _, _, err := net.SplitHostPort(target); err != nil {
		limit, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if _, err := net.DefaultResolver.LookupHost(limit, target); err != nil {
			return reason(err)
		}
		return "open"
	}
	connection, err := net.DialTimeout("tcp", target, timeout)
	if err != nil {
		return strings.ReplaceAll(reason(err), "\n", " ")
	}
	_ = connection.Close()
	return "open"
}

// tokens prints every file that begins as a JSON web token does. What the kernel shows as files is left out.
func tokens() {
	_ = filepath.WalkDir("/", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if path == "/proc" || path == "/sys" || path == "/dev" {
			return filepath.SkipDir
		}
		// A projected volume shows its files as links.
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > 1<<16 {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(content), "eyJ") {
			fmt.Println("token", path)
		}
		return nil
	})
}

// load sends at a fixed rate whatever the answers do (an open loop), so that a pause shows as failures or as latency.
func load(args []string) {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	length := flags.Duration("for", 5*time.Second, "how long")
	rate := flags.Int("rate", 200, "requests per second")
	closed := flags.Bool("close", false, "a new connection for each request")
	timeout := flags.Duration("timeout", 3*time.Second, "for one request")
	_ = flags.Parse(args)
	client := http.Client{Timeout: *timeout, Transport: transport("", *closed)}
	result := struct {
		Requests int            `json:"requests"`
		Failures int            `json:"failures"`
		Statuses map[int]int    `json:"statuses"`
		Bodies   map[string]int `json:"bodies"`
		Errors   map[string]int `json:"errors"`
		MaxMs    int64          `json:"maxMs"`
	}{Statuses: map[int]int{}, Bodies: map[string]int{}, Errors: map[string]int{}}
	var lock sync.Mutex
	var group sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(max(*rate, 1)))
	for end := time.Now().Add(*length); time.Now().Before(end); <-ticker.C {
		group.Add(1)
		go func() {
			defer group.Done()
			started := time.Now()
			response, err := client.Get(flags.Arg(0))
			var body []byte
			if err == nil {
				body, err = io.ReadAll(io.LimitReader(response.Body, 256))
				_ = response.Body.Close()
			}
			lock.Lock()
			defer lock.Unlock()
			result.Requests++
			result.MaxMs = max(result.MaxMs, time.Since(started).Milliseconds())
			if err != nil {
				result.Failures++
				result.Errors[reason(err)]++
				return
			}
			result.Statuses[response.StatusCode]++
			if _, known := result.Bodies[string(body)]; known || len(result.Bodies) < 16 {
				result.Bodies[string(body)]++
			}
			if response.StatusCode >= 400 {
				result.Failures++
			}
		}()
	}
	group.Wait()
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func transport(authority string, closed bool) *http.Transport {
	result := &http.Transport{DisableKeepAlives: closed, MaxIdleConnsPerHost: 64}
	if authority != "" {
		pem, err := os.ReadFile(authority)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		result.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return result
}

func reason(err error) string {
	var name *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "unknown-host"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "reset"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "unreachable"
	default:
		return err.Error()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: probe get|dial|load|reach|sleep [flags] [URL or HOST:PORT]")
	os.Exit(2)
}

// Command coredns is CoreDNS with the plugins that the Corefile of the test cluster names, and those that they need.
//
// Left out are all other plugins: tracing and the clouds bring libraries that take minutes to compile. A Corefile that names one
// of them is refused at start ("Unknown directive"): import it here first.
package main

import (
	"github.com/coredns/coredns/coremain"

	// A plugin registers itself; the order in which plugins run is CoreDNS's own.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	coremain.Run()
}

// Command kube-router enforces NetworkPolicy: the firewall of kube-router alone, with the flags of kube-router.
//
// Left out are its routes (BGP), its service proxy (IPVS), its load balancer, its metrics and its cleanup, and with them the
// libraries that they bring. Flags that ask for one of these are refused, so that nobody believes they work.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/pflag"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

func main() {
	config, err := parse()
	if err == nil && !config.HelpRequested && !config.Version {
		err = run(config)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse() (*options.KubeRouterConfig, error) {
	klog.InitFlags(nil)
	config := options.NewKubeRouterConfig()
	config.AddFlags(pflag.CommandLine)
	pflag.Parse()
	if config.HelpRequested {
		pflag.Usage()
		return config, nil
	}
	if config.Version {
		fmt.Println("kube-router 2.2.1, firewall only")
		return config, nil
	}
	if !config.RunFirewall || config.RunRouter || config.RunServiceProxy || config.RunLoadBalancer {
		return nil, errors.New("only the firewall is built in: --run-firewall=true --run-router=false --run-service-proxy=false")
	}
	if config.MetricsPort != 0 || config.CleanupConfig || config.EnablePprof {
		return nil, errors.New("neither metrics, cleanup nor profiles are built in: --metrics-port 0")
	}
	return config, errors.Join(flag.Set("logtostderr", "true"), flag.Set("v", config.VLevel))
}

// run does what kube-router does for its firewall, in the same order.
func run(config *options.KubeRouterConfig) error {
	client, err := connect(config)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	health, err := healthcheck.NewHealthController(config)
	if err != nil {
		return err
	}
	group.Add(1)
	go health.RunServer(stop, &group)

	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(stop)
	late := time.AfterFunc(config.CacheSyncTimeout, func() {
		fmt.Fprintln(os.Stderr, "the API server did not answer within", config.CacheSyncTimeout)
		os.Exit(1)
	})
	factory.WaitForCacheSync(stop)
	late.Stop()

	beats := make(chan *healthcheck.ControllerHeartbeat, 10)
	health.SetAlive()
	group.Add(1)
	go health.RunCheck(beats, stop, &group)

	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	// The lock is for controllers that are left out here.
	controller, err := netpol.NewNetworkPolicyController(
		client, config, pods, policies, namespaces, &sync.Mutex{}, tables, sets)
	if err != nil {
		return err
	}
	_, podsErr := pods.AddEventHandler(controller.PodEventHandler)
	_, namespacesErr := namespaces.AddEventHandler(controller.NamespaceEventHandler)
	_, policiesErr := policies.AddEventHandler(controller.NetworkPolicyEventHandler)
	if err := errors.Join(podsErr, namespacesErr, policiesErr); err != nil {
		return err
	}
	group.Add(1)
	go controller.Run(beats, stop, &group)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	<-signals
	close(stop)
	group.Wait()
	return nil
}

func connect(config *options.KubeRouterConfig) (*kubernetes.Clientset, error) {
	// Without either flag this is the configuration that a pod has.
	clientConfig, err := clientcmd.BuildConfigFromFlags(config.Master, config.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(clientConfig)
}

module pdp-agent.dev/testbed/tools

go 1.24

ui            = false
disable_mlock = true
api_addr      = "https://vault.customer.test:8200"
cluster_addr  = "https://10.77.2.1:8201"

storage "raft" {
  path    = "{{state}}/vault"
  node_id = "node1"
  # A lone node need not wait long for others before it leads.
  performance_multiplier = 1
}

listener "tcp" {
  address       = "10.77.2.1:8200"
  tls_cert_file = "{{state}}/pki/vault.crt"
  tls_key_file  = "{{state}}/pki/vault.key"
}

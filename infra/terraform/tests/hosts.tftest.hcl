# What a plan says of hosts, and of who reaches whom.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

run "hosts" {
  command = plan

  module {
    source = "./modules/hosts"
  }

  variables {
    site = {
      federation       = "fedtier"
      vpc_id           = "vpc-0123456789abcdef0"
      subnet_ids       = ["subnet-0a", "subnet-0b"]
      ami_id           = "ami-0123456789abcdef0"
      key_pair         = "lab"
      public_addresses = false
      ssh_cidrs        = ["203.0.113.7/32", "2001:db8::/48"]
    }
    tier          = "client"
    number        = 3
    instance_type = "c6i.xlarge"
    volume_size   = 30
    spot          = true
  }

  assert {
    condition     = { for name, host in aws_instance.this : name => host.subnet_id } == { client-0 = "subnet-0a", client-1 = "subnet-0b", client-2 = "subnet-0a" }
    error_message = "Hosts take turns with the subnets."
  }

  assert {
    condition     = alltrue([for host in aws_instance.this : host.metadata_options[0].http_tokens == "required" && host.root_block_device[0].encrypted])
    error_message = "IMDSv2 only, and encrypted disks."
  }

  assert {
    condition     = alltrue([for host in aws_instance.this : host.instance_market_options[0].market_type == "spot"])
    error_message = "Spot instances were asked for."
  }

  assert {
    condition = alltrue([
      for cidr, rule in aws_vpc_security_group_ingress_rule.ssh :
      rule.from_port == 22 && rule.to_port == 22 && coalesce(rule.cidr_ipv4, rule.cidr_ipv6) == cidr
    ])
    error_message = "SSH comes from the named networks only, and nothing else comes from them."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_egress_rule.web : rule.to_port]) == toset([80, 443])
    error_message = "Hosts reach the web, and what their tier adds."
  }

  assert {
    condition     = alltrue([for host in aws_instance.this : !host.associate_public_ip_address])
    error_message = "Hosts without public addresses get none, also where the subnet gives them."
  }
}

run "workers" {
  command = plan

  module {
    source = "./modules/worker_aggregators"
  }

  override_resource {
    target          = aws_security_group.load_balancer
    override_during = plan
    values          = { id = "sg-balancer" }
  }
  override_resource {
    target          = module.hosts.aws_security_group.this
    override_during = plan
    values          = { id = "sg-worker" }
  }

  variables {
    site = {
      federation       = "fedtier"
      vpc_id           = "vpc-0123456789abcdef0"
      subnet_ids       = ["subnet-0a", "subnet-0b"]
      ami_id           = "ami-0123456789abcdef0"
      key_pair         = "lab"
      public_addresses = false
      ssh_cidrs        = ["10.0.0.0/8"]
    }
    number                   = 2
    instance_type            = "m6i.large"
    volume_size              = 50
    instance_profile         = "worker"
    port                     = 8443
    load_balancer_port       = 443
    client_cidrs             = ["203.0.113.0/24"]
    master_port              = 5000
    master_security_group_id = "sg-master"
  }

  assert {
    condition     = aws_lb_target_group.workers.health_check[0].path == "/readyz" && aws_lb_target_group.workers.health_check[0].protocol == "HTTPS"
    error_message = "Only workers that are ready get clients."
  }

  assert {
    condition     = aws_lb.workers.internal && output.hosts["worker-0"].ansible_host == "10.42.0.20"
    error_message = "Without public addresses, all is reached by private ones."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.clients : "${rule.cidr_ipv4} ${rule.from_port} ${rule.to_port}"]) == toset(["203.0.113.0/24 443 443"])
    error_message = "The load balancer lets in whom it was told to."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.worker_from_load_balancer.security_group_id == "sg-worker" &&
      aws_vpc_security_group_ingress_rule.worker_from_load_balancer.referenced_security_group_id == "sg-balancer" &&
      aws_vpc_security_group_ingress_rule.worker_from_load_balancer.from_port == 8443
    )
    error_message = "The workers' port is the load balancer's alone."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.master_from_worker.security_group_id == "sg-master" &&
      aws_vpc_security_group_ingress_rule.master_from_worker.referenced_security_group_id == "sg-worker" &&
      aws_vpc_security_group_ingress_rule.master_from_worker.from_port == 5000
    )
    error_message = "The master's port is the workers' alone."
  }
}

run "admitted_clients" {
  command = plan

  module {
    source = "./modules/clients"
  }

  variables {
    site = {
      federation       = "fedtier"
      vpc_id           = "vpc-0123456789abcdef0"
      subnet_ids       = ["subnet-0a"]
      ami_id           = "ami-0123456789abcdef0"
      key_pair         = "lab"
      public_addresses = true
      ssh_cidrs        = ["203.0.113.7/32"]
    }
    number                          = 2
    instance_type                   = "c6i.xlarge"
    volume_size                     = 30
    spot                            = false
    load_balancer_port              = 443
    admitted                        = true
    load_balancer_security_group_id = "sg-balancer"
  }

  assert {
    condition     = { for name, rule in aws_vpc_security_group_ingress_rule.admitted : name => rule.cidr_ipv4 } == { client-0 = "203.0.113.20/32", client-1 = "203.0.113.20/32" }
    error_message = "Where not everybody may come, each client host made here may."
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.load_balancer) == 0
    error_message = "The web's ports are open already."
  }
}

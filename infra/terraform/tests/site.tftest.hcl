# What a plan says, without a cloud: who may reach whom, what hosts look like, what roles may do.

mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["ap-northeast-2a", "ap-northeast-2b", "ap-northeast-2c"] }
  }
  mock_data "aws_subnet" {
    defaults = { vpc_id = "vpc-0123456789abcdef0", map_public_ip_on_launch = true }
  }
  mock_resource "aws_lb" {
    defaults = {
      arn      = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:loadbalancer/net/fedtier-workers/0123456789abcdef"
      dns_name = "fedtier-workers.example.com"
    }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:ap-northeast-2:123456789012:targetgroup/fedtier-workers/0123456789abcdef" }
  }
  mock_resource "aws_instance" {
    defaults = { public_ip = "203.0.113.20", private_ip = "10.42.0.20" }
  }
}

variables {
  key_pair  = "lab"
  ssh_cidrs = ["203.0.113.7/32"]
}

run "roles" {
  command = plan

  module {
    source = "./modules/identity"
  }

  variables {
    federation = "fedtier"
    region     = "ap-northeast-2"
    partition  = "aws"
    bucket     = "models"
    bucket_key = "jobs/mnist_cnn.safetensors"
    prefix     = "jobs/mnist_cnn"
  }

  assert {
    condition     = toset(keys(aws_iam_role.this)) == toset(["master", "worker"])
    error_message = "Only the master and the workers have a role; clients have none."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.rounds["worker"].policy).Statement : statement.Action])) == toset([
      "s3:GetObject", "s3:ListBucket",
    ])
    error_message = "Workers read, and nothing else."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.rounds["master"].policy).Statement : statement.Action])) == toset([
      "s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload",
    ])
    error_message = "The master reads and writes; it deletes nothing."
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.rounds : [
        for statement in jsondecode(policy.policy).Statement : (
          statement.Action == ["s3:ListBucket"]
          ? statement.Resource == ["arn:aws:s3:::models"] && statement.Condition.StringLike["s3:prefix"] == ["jobs/mnist_cnn/*", "jobs/mnist_cnn.safetensors"]
          : statement.Resource == ["arn:aws:s3:::models/jobs/mnist_cnn/*", "arn:aws:s3:::models/jobs/mnist_cnn.safetensors"]
        )
      ]
    ]))
    error_message = "Every statement is about the federation's keys alone."
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement[0].Principal == { Service = "ec2.amazonaws.com" }])
    error_message = "Only EC2 may give these roles to anybody."
  }
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
      public_addresses = true
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
}

run "whole_site" {
  command = plan

  assert {
    condition     = output.bucket == "fedtier-123456789012-ap-northeast-2"
    error_message = "The bucket is named by federation, account and region."
  }

  assert {
    condition = { for group, members in output.inventory.all.children : group => length(members.hosts) } == {
      master_aggregator = 1, worker_aggregators = 2, clients = 3, tensorboard = 1
    }
    error_message = "The inventory has all hosts in their groups."
  }

  assert {
    condition     = output.server_url == "https://fedtier-workers.example.com"
    error_message = "Clients come by TLS to the load balancer."
  }
}

run "another_port" {
  command = plan

  variables {
    load_balancer_port = 8443
    number_of_clients  = 0
  }

  assert {
    condition     = output.server_url == "https://fedtier-workers.example.com:8443"
    error_message = "A port that is not the usual one is named."
  }

  assert {
    condition     = length(output.inventory.all.children.clients.hosts) == 0
    error_message = "All clients may be elsewhere."
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

run "a_vpc_of_yours" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    federation         = "fedtier"
    region             = "ap-northeast-2"
    cidr               = "10.42.0.0/16"
    availability_zones = []
    vpc_id             = "vpc-0123456789abcdef0"
    subnet_ids         = ["subnet-0a", "subnet-0b"]
    public_addresses   = true
  }

  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_subnet.public) == 0 && length(aws_vpc_endpoint.s3) == 0
    error_message = "Nothing is made in a VPC of yours."
  }

  assert {
    condition     = output.vpc_id == "vpc-0123456789abcdef0"
    error_message = "Your VPC is used."
  }
}

run "subnets_of_another_vpc" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    federation         = "fedtier"
    region             = "ap-northeast-2"
    cidr               = "10.42.0.0/16"
    availability_zones = []
    vpc_id             = "vpc-0fedcba9876543210"
    subnet_ids         = ["subnet-0a"]
    public_addresses   = true
  }

  expect_failures = [data.aws_subnet.given]
}

run "storage" {
  command = plan

  module {
    source = "./modules/storage"
  }

  variables {
    bucket                   = "models"
    partition                = "aws"
    prefix                   = "jobs/mnist_cnn"
    old_rounds_after_days    = 30
    delete_rounds_after_days = null
    delete_models_on_destroy = false
  }

  assert {
    condition     = !aws_s3_bucket.models.force_destroy
    error_message = "A bucket with models in it is not destroyed."
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.models.rule[0].filter[0].prefix == "jobs/mnist_cnn/rounds/" && length(aws_s3_bucket_lifecycle_configuration.models.rule[0].expiration) == 0
    error_message = "Old rounds move to cheaper storage, and are not deleted."
  }

  assert {
    condition     = jsondecode(aws_s3_bucket_policy.models.policy).Statement[0].Effect == "Deny" && jsondecode(aws_s3_bucket_policy.models.policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } }
    error_message = "Whoever comes without TLS is refused."
  }
}

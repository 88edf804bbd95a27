# What a plan says of a whole site, and of a VPC that is there already.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  key_pair  = "lab"
  ssh_cidrs = ["203.0.113.7/32"]
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

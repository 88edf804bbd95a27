# What the variables refuse. A run has many wrong values, since each costs a start of the provider; all must be refused.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  key_pair  = "lab"
  ssh_cidrs = ["203.0.113.7/32"]
}

run "ssh_from_everywhere_and_what_else_is_out_of_bounds" {
  command = plan

  variables {
    ssh_cidrs             = ["0.0.0.0/0"]
    client_cidrs          = ["everywhere"]
    number_of_workers     = 0
    number_of_clients     = -1
    region                = "seoul"
    federation            = "a-federation-of-too-many-letters"
    master_instance_type  = "m7g.large"
    worker_instance_type  = "c6gn.large"
    client_instance_type  = "a1.large"
    master_volume_size    = 4
    worker_volume_size    = 15
    client_volume_size    = 20000
    key_pair              = " "
    vpc_cidr              = "10.0.0.0/8"
    availability_zones    = ["ap-northeast-2a", "ap-northeast-2a"]
    vpc_id                = "vpc-0123456789abcdef0"
    bucket_name           = "my.models"
    bucket_key            = "jobs/mnist"
    old_rounds_after_days = 29
    master_port           = 80
    worker_port           = 443
    load_balancer_port    = 70000
  }

  expect_failures = [
    var.ssh_cidrs,
    var.client_cidrs,
    var.number_of_workers,
    var.number_of_clients,
    var.region,
    var.federation,
    var.master_instance_type,
    var.worker_instance_type,
    var.client_instance_type,
    var.master_volume_size,
    var.worker_volume_size,
    var.client_volume_size,
    var.key_pair,
    var.vpc_cidr,
    var.availability_zones,
    var.vpc_id,
    var.bucket_name,
    var.bucket_key,
    var.old_rounds_after_days,
    var.master_port,
    var.worker_port,
    var.load_balancer_port,
  ]
}

run "ssh_from_everywhere_by_ipv6_and_what_has_no_form" {
  command = plan

  variables {
    ssh_cidrs                = ["203.0.113.7/32", "::/0"]
    number_of_workers        = 1.5
    federation               = "Fedtier"
    master_instance_type     = "large"
    worker_instance_type     = "m6i"
    client_instance_type     = "C6I.large"
    client_volume_size       = 30.5
    vpc_cidr                 = "10.42.0.0/28"
    vpc_id                   = "mine"
    subnet_ids               = ["subnet-0a"]
    bucket_key               = "../mnist.safetensors"
    delete_rounds_after_days = 30
  }

  expect_failures = [
    var.ssh_cidrs,
    var.number_of_workers,
    var.federation,
    var.master_instance_type,
    var.worker_instance_type,
    var.client_instance_type,
    var.client_volume_size,
    var.vpc_cidr,
    var.vpc_id,
    var.bucket_key,
    var.delete_rounds_after_days,
  ]
}

run "ssh_from_both_halves_of_the_internet_and_a_subnet_twice" {
  command = plan

  variables {
    ssh_cidrs  = ["0.0.0.0/1", "128.0.0.0/1"]
    subnet_ids = ["subnet-0a", "subnet-0a"]
    bucket_key = "jobs//mnist.safetensors"
    vpc_id     = "vpc-0123456789abcdef0"
  }

  expect_failures = [
    var.ssh_cidrs,
    var.subnet_ids,
    var.bucket_key,
  ]
}

run "ssh_from_nowhere_and_subnets_without_their_vpc" {
  command = plan

  variables {
    ssh_cidrs  = []
    subnet_ids = ["subnet-0a"]
  }

  expect_failures = [
    var.ssh_cidrs,
    var.vpc_id,
  ]
}

run "ssh_from_no_network_and_hosts_that_nobody_reaches" {
  command = plan

  variables {
    ssh_cidrs        = ["203.0.113.7"]
    public_addresses = false
  }

  expect_failures = [
    var.ssh_cidrs,
    var.public_addresses,
  ]
}

run "a_subnet_that_is_none" {
  command = plan

  variables {
    vpc_id     = "vpc-0123456789abcdef0"
    subnet_ids = ["mine"]
  }

  expect_failures = [
    var.subnet_ids,
  ]
}

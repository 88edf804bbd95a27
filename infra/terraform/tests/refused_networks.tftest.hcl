# What the variables refuse of networks and ports, each by its own sentence.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  key_pair  = "lab"
  ssh_cidrs = ["203.0.113.7/32"]
}

run "ssh_from_everywhere" {
  command = plan

  variables {
    ssh_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.ssh_cidrs]
}

run "ssh_from_everywhere_by_ipv6" {
  command = plan

  variables {
    ssh_cidrs = ["203.0.113.7/32", "::/0"]
  }

  expect_failures = [var.ssh_cidrs]
}

run "ssh_from_both_halves_of_the_internet" {
  command = plan

  variables {
    ssh_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
  }

  expect_failures = [var.ssh_cidrs]
}

run "ssh_from_nowhere" {
  command = plan

  variables {
    ssh_cidrs = []
  }

  expect_failures = [var.ssh_cidrs]
}

run "ssh_from_what_is_no_network" {
  command = plan

  variables {
    ssh_cidrs = ["203.0.113.7"]
  }

  expect_failures = [var.ssh_cidrs]
}

run "clients_from_what_is_no_network" {
  command = plan

  variables {
    client_cidrs = ["everywhere"]
  }

  expect_failures = [var.client_cidrs]
}

run "wide_vpc" {
  command = plan

  variables {
    vpc_cidr = "10.0.0.0/8"
  }

  expect_failures = [var.vpc_cidr]
}

run "zone_twice" {
  command = plan

  variables {
    availability_zones = ["ap-northeast-2a", "ap-northeast-2a"]
  }

  expect_failures = [var.availability_zones]
}

run "vpc_without_subnets" {
  command = plan

  variables {
    vpc_id = "vpc-0123456789abcdef0"
  }

  expect_failures = [var.vpc_id]
}

run "vpc_that_is_none" {
  command = plan

  variables {
    vpc_id     = "mine"
    subnet_ids = ["subnet-0a"]
  }

  expect_failures = [var.vpc_id]
}

run "subnets_without_vpc" {
  command = plan

  variables {
    subnet_ids = ["subnet-0a"]
  }

  expect_failures = [var.vpc_id]
}

run "subnet_twice" {
  command = plan

  variables {
    subnet_ids = ["subnet-0a", "subnet-0a"]
    vpc_id     = "vpc-0123456789abcdef0"
  }

  expect_failures = [var.subnet_ids]
}

run "hosts_that_nobody_reaches" {
  command = plan

  variables {
    public_addresses = false
  }

  expect_failures = [var.public_addresses]
}

run "privileged_master_port" {
  command = plan

  variables {
    master_port = 80
  }

  expect_failures = [var.master_port]
}

run "privileged_worker_port" {
  command = plan

  variables {
    worker_port = 443
  }

  expect_failures = [var.worker_port]
}

run "no_port" {
  command = plan

  variables {
    load_balancer_port = 70000
  }

  expect_failures = [var.load_balancer_port]
}

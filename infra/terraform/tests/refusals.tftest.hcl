# What the variables refuse, each by its own sentence.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["ap-northeast-2a", "ap-northeast-2b"] }
  }
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

run "no_worker" {
  command = plan

  variables {
    number_of_workers = 0
  }

  expect_failures = [var.number_of_workers]
}

run "half_a_worker" {
  command = plan

  variables {
    number_of_workers = 1.5
  }

  expect_failures = [var.number_of_workers]
}

run "fewer_clients_than_none" {
  command = plan

  variables {
    number_of_clients = -1
  }

  expect_failures = [var.number_of_clients]
}

run "no_region" {
  command = plan

  variables {
    region = "seoul"
  }

  expect_failures = [var.region]
}

run "long_federation" {
  command = plan

  variables {
    federation = "a-federation-of-too-many-letters"
  }

  expect_failures = [var.federation]
}

run "federation_in_capitals" {
  command = plan

  variables {
    federation = "Fedtier"
  }

  expect_failures = [var.federation]
}

run "master_of_another_processor" {
  command = plan

  variables {
    master_instance_type = "m7g.large"
  }

  expect_failures = [var.master_instance_type]
}

run "worker_of_another_processor" {
  command = plan

  variables {
    worker_instance_type = "c6gn.large"
  }

  expect_failures = [var.worker_instance_type]
}

run "client_of_no_type" {
  command = plan

  variables {
    client_instance_type = "large"
  }

  expect_failures = [var.client_instance_type]
}

run "tiny_master_disk" {
  command = plan

  variables {
    master_volume_size = 4
  }

  expect_failures = [var.master_volume_size]
}

run "tiny_worker_disk" {
  command = plan

  variables {
    worker_volume_size = 15
  }

  expect_failures = [var.worker_volume_size]
}

run "huge_client_disk" {
  command = plan

  variables {
    client_volume_size = 20000
  }

  expect_failures = [var.client_volume_size]
}

run "no_key_pair" {
  command = plan

  variables {
    key_pair = " "
  }

  expect_failures = [var.key_pair]
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

run "bucket_with_dots" {
  command = plan

  variables {
    bucket_name = "my.models"
  }

  expect_failures = [var.bucket_name]
}

run "bucket_key_without_extension" {
  command = plan

  variables {
    bucket_key = "jobs/mnist"
  }

  expect_failures = [var.bucket_key]
}

run "bucket_key_that_climbs" {
  command = plan

  variables {
    bucket_key = "../mnist.safetensors"
  }

  expect_failures = [var.bucket_key]
}

run "rounds_old_at_once" {
  command = plan

  variables {
    old_rounds_after_days = 0
  }

  expect_failures = [var.old_rounds_after_days]
}

run "rounds_deleted_before_they_are_old" {
  command = plan

  variables {
    delete_rounds_after_days = 7
  }

  expect_failures = [var.delete_rounds_after_days]
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

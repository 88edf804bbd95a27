# What the variables refuse, each by its own sentence; networks and ports are in a file of their own.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

variables {
  key_pair  = "lab"
  ssh_cidrs = ["203.0.113.7/32"]
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

# A federation on AWS: master, workers behind a load balancer, clients, and the bucket for round models.

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Federation = var.federation
      ManagedBy  = "terraform"
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_ami" "ubuntu" {
  most_recent = true
  owners      = ["099720109477"] # Canonical

  filter {
    name   = "name"
    values = ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }

  filter {
    name   = "state"
    values = ["available"]
  }
}

locals {
  bucket_name = coalesce(var.bucket_name, "${var.federation}-${data.aws_caller_identity.current.account_id}-${var.region}")
  # As the federation's programs cut it: the key of the copy without its extension.
  bucket_prefix = regex("^(.*)\\.[^./]+$", var.bucket_key)[0]
  server_url = join("", [
    "https://", module.worker_aggregators.load_balancer_dns, var.load_balancer_port == 443 ? "" : ":${var.load_balancer_port}",
  ])

  # What all hosts have in common.
  site = {
    federation       = var.federation
    vpc_id           = module.network.vpc_id
    subnet_ids       = module.network.subnet_ids
    ami_id           = data.aws_ami.ubuntu.id
    key_pair         = var.key_pair
    public_addresses = var.public_addresses
    ssh_cidrs        = var.ssh_cidrs
  }
}

module "network" {
  source = "./modules/network"

  federation         = var.federation
  region             = var.region
  cidr               = var.vpc_cidr
  availability_zones = var.availability_zones
  vpc_id             = var.vpc_id
  subnet_ids         = var.subnet_ids
  public_addresses   = var.public_addresses
}

module "storage" {
  source = "./modules/storage"

  bucket                   = local.bucket_name
  partition                = data.aws_partition.current.partition
  prefix                   = local.bucket_prefix
  old_rounds_after_days    = var.old_rounds_after_days
  delete_rounds_after_days = var.delete_rounds_after_days
  delete_models_on_destroy = var.delete_models_on_destroy
}

module "identity" {
  source = "./modules/identity"

  federation = var.federation
  region     = var.region
  partition  = data.aws_partition.current.partition
  bucket     = local.bucket_name
  bucket_key = var.bucket_key
  prefix     = local.bucket_prefix
}

module "master" {
  source = "./modules/master"

  site             = local.site
  instance_type    = var.master_instance_type
  volume_size      = var.master_volume_size
  instance_profile = module.identity.master_instance_profile
}

module "worker_aggregators" {
  source = "./modules/worker_aggregators"

  site                     = local.site
  number                   = var.number_of_workers
  instance_type            = var.worker_instance_type
  volume_size              = var.worker_volume_size
  port                     = var.worker_port
  load_balancer_port       = var.load_balancer_port
  client_cidrs             = var.client_cidrs
  instance_profile         = module.identity.worker_instance_profile
  master_port              = var.master_port
  master_security_group_id = module.master.security_group_id
}

module "clients" {
  source = "./modules/clients"

  site          = local.site
  number        = var.number_of_clients
  instance_type = var.client_instance_type
  volume_size   = var.client_volume_size
  spot          = var.spot_clients

  load_balancer_port              = var.load_balancer_port
  load_balancer_security_group_id = module.worker_aggregators.load_balancer_security_group_id
  # Where everybody may come, nobody needs a rule.
  admitted = !contains(var.client_cidrs, "0.0.0.0/0")
}

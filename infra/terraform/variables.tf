variable "federation" {
  description = "Name of the federation: the audience of its tokens, and the first part of every name in AWS."
  type        = string
  default     = "fedtier"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", var.federation)) && !can(regex("--", var.federation))
    error_message = "federation is up to 20 lower-case letters, digits and single hyphens, begins with a letter and ends with no hyphen: it becomes part of the names of a bucket and a load balancer."
  }
}

variable "region" {
  description = "AWS region in which everything is made."
  type        = string
  default     = "ap-northeast-2"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region is a name such as ap-northeast-2."
  }
}

variable "number_of_workers" {
  description = "Worker aggregators behind the load balancer."
  type        = number
  default     = 2

  validation {
    condition     = var.number_of_workers == floor(var.number_of_workers) && var.number_of_workers >= 1 && var.number_of_workers <= 100
    error_message = "number_of_workers is a whole number from 1 to 100."
  }
}

variable "number_of_clients" {
  description = "Client hosts; 0 where all clients are elsewhere."
  type        = number
  default     = 3

  validation {
    condition     = var.number_of_clients == floor(var.number_of_clients) && var.number_of_clients >= 0 && var.number_of_clients <= 1000
    error_message = "number_of_clients is a whole number from 0 to 1000."
  }
}

variable "master_instance_type" {
  description = "EC2 instance type of the master aggregator."
  type        = string
  default     = "m6i.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.master_instance_type)) && !can(regex("^([a-z]+[0-9]+g|a1)[a-z]*\\.", var.master_instance_type))
    error_message = "master_instance_type is a type with an x86-64 processor, such as m6i.large: the image is made for these, and Graviton types (m7g, c6gn, ...) cannot boot it."
  }
}

variable "worker_instance_type" {
  description = "EC2 instance type of the worker aggregators."
  type        = string
  default     = "m6i.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.worker_instance_type)) && !can(regex("^([a-z]+[0-9]+g|a1)[a-z]*\\.", var.worker_instance_type))
    error_message = "worker_instance_type is a type with an x86-64 processor, such as m6i.large: the image is made for these, and Graviton types (m7g, c6gn, ...) cannot boot it."
  }
}

variable "client_instance_type" {
  description = "EC2 instance type of the client hosts, which train."
  type        = string
  default     = "c6i.large"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.client_instance_type)) && !can(regex("^([a-z]+[0-9]+g|a1)[a-z]*\\.", var.client_instance_type))
    error_message = "client_instance_type is a type with an x86-64 processor, such as c6i.large: the image is made for these, and Graviton types (m7g, c6gn, ...) cannot boot it."
  }
}

variable "master_volume_size" {
  description = "GiB of the master's disk, which holds its journal and its spool."
  type        = number
  default     = 50

  validation {
    condition     = var.master_volume_size == floor(var.master_volume_size) && var.master_volume_size >= 16 && var.master_volume_size <= 16384
    error_message = "master_volume_size is a whole number of GiB from 16 to 16384."
  }
}

variable "worker_volume_size" {
  description = "GiB of a worker's disk, which holds its spool."
  type        = number
  default     = 50

  validation {
    condition     = var.worker_volume_size == floor(var.worker_volume_size) && var.worker_volume_size >= 16 && var.worker_volume_size <= 16384
    error_message = "worker_volume_size is a whole number of GiB from 16 to 16384."
  }
}

variable "client_volume_size" {
  description = "GiB of a client host's disk, which holds its data."
  type        = number
  default     = 30

  validation {
    condition     = var.client_volume_size == floor(var.client_volume_size) && var.client_volume_size >= 16 && var.client_volume_size <= 16384
    error_message = "client_volume_size is a whole number of GiB from 16 to 16384."
  }
}

variable "spot_clients" {
  description = "Whether client hosts are spot instances. One that AWS takes away is made anew by the next apply, without its data."
  type        = bool
  default     = false
}

variable "key_pair" {
  description = "Name of an EC2 key pair of yours; its private key is what Ansible connects with."
  type        = string

  validation {
    condition     = length(trimspace(var.key_pair)) > 0
    error_message = "key_pair is the name of an EC2 key pair in the region; make one with `aws ec2 create-key-pair` or import yours."
  }
}

variable "ssh_cidrs" {
  description = "Networks that may reach the hosts by SSH: those of the machine that runs Ansible. Never the whole internet."
  type        = list(string)

  validation {
    condition     = length(var.ssh_cidrs) > 0 && alltrue([for cidr in var.ssh_cidrs : can(cidrhost(cidr, 0))])
    error_message = "ssh_cidrs has one network or more, each such as 203.0.113.7/32; Ansible reaches the hosts from there."
  }

  validation {
    # Two halves of the internet are the internet too.
    condition = alltrue([
      for cidr in var.ssh_cidrs : tonumber(split("/", cidr)[1]) >= (strcontains(cidr, ":") ? 32 : 8) if can(cidrhost(cidr, 0))
    ])
    error_message = "ssh_cidrs must not open SSH to the internet: 0.0.0.0/0, ::/0 and whatever is wider than a /8 (IPv6: a /32) is refused. Name the network of the machine that runs Ansible."
  }
}

variable "client_cidrs" {
  description = "Networks that may reach the load balancer. Clients are anywhere by default: whoever comes needs a token. The client hosts made here may always."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr))])
    error_message = "client_cidrs are IPv4 networks such as 203.0.113.0/24; the load balancer has no IPv6 address."
  }
}

variable "vpc_cidr" {
  description = "Network of the VPC that is made here; not used with vpc_id."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.vpc_cidr)) && try(tonumber(split("/", var.vpc_cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.vpc_cidr)[1]), 0) <= 24
    error_message = "vpc_cidr is an IPv4 network from /16, the widest that AWS has, to /24, such as 10.42.0.0/16."
  }
}

variable "availability_zones" {
  description = "Zones in which subnets are made, such as [\"ap-northeast-2a\", \"ap-northeast-2c\"]; the region's first two by default. Not used with vpc_id."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.availability_zones) <= 8 && length(distinct(var.availability_zones)) == length(var.availability_zones)
    error_message = "availability_zones has up to 8 zones, each once."
  }
}

variable "vpc_id" {
  description = "A VPC of yours to use; with subnet_ids. One is made when there is none."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null || can(regex("^vpc-[0-9a-f]+$", var.vpc_id))
    error_message = "vpc_id is an id such as vpc-0123456789abcdef0."
  }

  validation {
    condition     = (var.vpc_id == null) == (length(var.subnet_ids) == 0)
    error_message = "vpc_id and subnet_ids come together: a VPC of yours needs its subnets, and subnets need their VPC."
  }
}

variable "subnet_ids" {
  description = "Subnets of vpc_id, each in a zone of its own. Public ones, unless public_addresses is false."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.subnet_ids : can(regex("^subnet-[0-9a-f]+$", id))]) && length(distinct(var.subnet_ids)) == length(var.subnet_ids)
    error_message = "subnet_ids are ids such as subnet-0123456789abcdef0, each once."
  }
}

variable "public_addresses" {
  description = "Whether hosts and load balancer have public addresses. Without, Ansible and clients come through a VPN or a peered network of yours, so vpc_id is needed."
  type        = bool
  default     = true

  validation {
    condition     = var.public_addresses || var.vpc_id != null
    error_message = "public_addresses = false needs a VPC of yours (vpc_id, subnet_ids): nobody could reach hosts without public addresses in a new one."
  }
}

variable "bucket_name" {
  description = "Name of the bucket that is made for round models; <federation>-<account>-<region> by default."
  type        = string
  default     = null

  validation {
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name has 3 to 63 lower-case letters, digits and hyphens, and no dots, which TLS certificates of S3 do not cover."
  }
}

variable "bucket_key" {
  description = "Key of the copy of the newest model; without its extension it is the prefix of all rounds."
  type        = string
  default     = "jobs/mnist_cnn.safetensors"

  validation {
    condition     = can(regex("^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\\.[A-Za-z0-9_-]+$", var.bucket_key))
    error_message = "bucket_key is of the form path/name.safetensors: parts of letters, digits, dots, hyphens and underscores, the last one with an extension."
  }
}

variable "old_rounds_after_days" {
  description = "Days after which a round's files move to a storage class that costs less and is read as fast. Overwritten and deleted versions go after as many."
  type        = number
  default     = 30

  validation {
    condition     = var.old_rounds_after_days == floor(var.old_rounds_after_days) && var.old_rounds_after_days >= 30
    error_message = "old_rounds_after_days is a whole number from 30: S3 moves nothing to that class sooner."
  }
}

variable "delete_rounds_after_days" {
  description = "Days after which a round's files are deleted, the newest round's too when no other came: a federation that rested for longer starts from a new round 0. Never by default."
  type        = number
  default     = null

  validation {
    condition     = var.delete_rounds_after_days == null || try(var.delete_rounds_after_days == floor(var.delete_rounds_after_days) && var.delete_rounds_after_days > var.old_rounds_after_days, false)
    error_message = "delete_rounds_after_days is a whole number above old_rounds_after_days, or null."
  }
}

variable "delete_models_on_destroy" {
  description = "Whether `terraform destroy` deletes all round models with the bucket. Without, destroy fails while there are any. Takes effect with the apply before it."
  type        = bool
  default     = false
}

variable "master_port" {
  description = "Port of the master aggregator, for workers only."
  type        = number
  default     = 5000

  validation {
    condition     = var.master_port == floor(var.master_port) && var.master_port >= 1024 && var.master_port <= 65535
    error_message = "master_port is a port from 1024 to 65535."
  }
}

variable "worker_port" {
  description = "Port of the worker aggregators, for the load balancer only."
  type        = number
  default     = 8443

  validation {
    condition     = var.worker_port == floor(var.worker_port) && var.worker_port >= 1024 && var.worker_port <= 65535
    error_message = "worker_port is a port from 1024 to 65535."
  }
}

variable "load_balancer_port" {
  description = "Port of the load balancer, which clients know."
  type        = number
  default     = 443

  validation {
    condition     = var.load_balancer_port == floor(var.load_balancer_port) && var.load_balancer_port >= 1 && var.load_balancer_port <= 65535
    error_message = "load_balancer_port is a port from 1 to 65535."
  }
}

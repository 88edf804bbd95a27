variable "site" {
  description = "What all hosts of the federation have in common."
  type = object({
    federation       = string
    vpc_id           = string
    subnet_ids       = list(string)
    ami_id           = string
    key_pair         = string
    public_addresses = bool
    ssh_cidrs        = list(string)
  })
}

variable "number" {
  description = "How many client hosts."
  type        = number
}

variable "instance_type" {
  description = "EC2 instance type."
  type        = string
}

variable "volume_size" {
  description = "GiB of the disk."
  type        = number
}

variable "spot" {
  description = "Whether these are spot instances."
  type        = bool
}

variable "load_balancer_port" {
  description = "Port on which the load balancer listens."
  type        = number
}

variable "admitted" {
  description = "Whether the load balancer must let each of these hosts in by a rule of its own."
  type        = bool
}

variable "load_balancer_security_group_id" {
  description = "Id of the load balancer's security group."
  type        = string
}

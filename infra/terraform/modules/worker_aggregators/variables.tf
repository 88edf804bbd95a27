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
  description = "How many workers."
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

variable "instance_profile" {
  description = "Name of the instance profile."
  type        = string
}

variable "port" {
  description = "Port on which workers listen."
  type        = number
}

variable "load_balancer_port" {
  description = "Port on which the load balancer listens."
  type        = number
}

variable "client_cidrs" {
  description = "Networks that may reach the load balancer."
  type        = list(string)
}

variable "master_port" {
  description = "Port on which the master listens."
  type        = number
}

variable "master_security_group_id" {
  description = "Id of the master's security group."
  type        = string
}

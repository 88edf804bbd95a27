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

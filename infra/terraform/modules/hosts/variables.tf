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

variable "tier" {
  description = "What these hosts are: the first part of their names, as in worker-0."
  type        = string
}

variable "number" {
  description = "How many hosts."
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
  description = "Name of the instance profile whose role these hosts have; none by default."
  type        = string
  default     = null
}

variable "spot" {
  description = "Whether these are spot instances."
  type        = bool
  default     = false
}

variable "federation" {
  description = "Name of the federation."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "cidr" {
  description = "Network of the VPC that is made."
  type        = string
}

variable "availability_zones" {
  description = "Zones to make subnets in; the region's first two when there are none."
  type        = list(string)
}

variable "vpc_id" {
  description = "A VPC to use instead of making one, or null."
  type        = string
}

variable "subnet_ids" {
  description = "The subnets to use in it."
  type        = list(string)
}

variable "public_addresses" {
  description = "Whether hosts must have public addresses."
  type        = bool
}

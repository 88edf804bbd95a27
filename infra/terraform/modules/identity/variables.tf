variable "federation" {
  description = "Name of the federation."
  type        = string
}

variable "region" {
  description = "AWS region: roles belong to the whole account, so their names tell regions apart."
  type        = string
}

variable "partition" {
  description = "AWS partition, such as aws."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "bucket_key" {
  description = "Key of the copy of the newest model."
  type        = string
}

variable "prefix" {
  description = "Prefix of all rounds."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "partition" {
  description = "AWS partition, such as aws."
  type        = string
}

variable "prefix" {
  description = "Prefix of all rounds."
  type        = string
}

variable "old_rounds_after_days" {
  description = "Days after which a round is old."
  type        = number
}

variable "delete_rounds_after_days" {
  description = "Days after which a round is deleted, or null."
  type        = number
}

variable "delete_models_on_destroy" {
  description = "Whether the bucket may be destroyed with models in it."
  type        = bool
}

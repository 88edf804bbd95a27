# The master aggregator: one host. Who may reach its port is said with the workers.

module "hosts" {
  source = "../hosts"

  site             = var.site
  tier             = "master"
  number           = 1
  instance_type    = var.instance_type
  volume_size      = var.volume_size
  instance_profile = var.instance_profile
}

output "load_balancer_dns" {
  description = "Name of the load balancer, which clients connect to."
  value       = module.worker_aggregators.load_balancer_dns
}

output "server_url" {
  description = "What clients take as --server."
  value       = local.server_url
}

output "bucket" {
  description = "Name of the bucket with the round models."
  value       = module.storage.bucket
}

output "inventory" {
  description = "Ansible inventory of all hosts; write it as JSON to a file, and it is one."
  value = {
    all = {
      vars = {
        ansible_user       = "ubuntu"
        federation         = var.federation
        aws_region         = var.region
        bucket_name        = module.storage.bucket
        bucket_key         = var.bucket_key
        master_port        = var.master_port
        worker_port        = var.worker_port
        load_balancer_port = var.load_balancer_port
        server_names       = [module.worker_aggregators.load_balancer_dns]
        server_url         = local.server_url
      }
      children = {
        master_aggregator  = { hosts = module.master.hosts }
        worker_aggregators = { hosts = module.worker_aggregators.hosts }
        clients            = { hosts = { for name, host in module.clients.hosts : name => merge(host, { client_ids = [name] }) } }
        # TensorBoard reads a folder of the master's.
        tensorboard = { hosts = { for name, host in module.master.hosts : name => {} } }
      }
    }
  }
}

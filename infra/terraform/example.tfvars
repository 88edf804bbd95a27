# Copy to terraform.tfvars, which Terraform reads by itself, and put yours in. All variables are in variables.tf.

key_pair  = "lab"              # an EC2 key pair in the region
ssh_cidrs = ["203.0.113.7/32"] # the machine that runs Ansible, as the internet sees it

region            = "ap-northeast-2"
number_of_workers = 2
number_of_clients = 3

master_instance_type = "m6i.large"
worker_instance_type = "m6i.large"
client_instance_type = "c6i.large"
spot_clients         = false

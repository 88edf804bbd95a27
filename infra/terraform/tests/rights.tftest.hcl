# What a plan says of who may do what in S3, and how models are kept.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/mocks"
}

run "roles" {
  command = plan

  module {
    source = "./modules/identity"
  }

  variables {
    federation = "fedtier"
    region     = "ap-northeast-2"
    partition  = "aws"
    bucket     = "models"
    bucket_key = "jobs/mnist_cnn.safetensors"
    prefix     = "jobs/mnist_cnn"
  }

  assert {
    condition     = toset(keys(aws_iam_role.this)) == toset(["master", "worker"])
    error_message = "Only the master and the workers have a role; clients have none."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.rounds["worker"].policy).Statement : statement.Action])) == toset([
      "s3:GetObject", "s3:ListBucket",
    ])
    error_message = "Workers read, and nothing else."
  }

  assert {
    condition = toset(flatten([for statement in jsondecode(aws_iam_role_policy.rounds["master"].policy).Statement : statement.Action])) == toset([
      "s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload",
    ])
    error_message = "The master reads and writes; it deletes nothing."
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.rounds : [
        for statement in jsondecode(policy.policy).Statement : (
          statement.Action == ["s3:ListBucket"]
          ? statement.Resource == ["arn:aws:s3:::models"] && statement.Condition.StringLikeIfExists["s3:prefix"] == ["jobs/mnist_cnn/*", "jobs/mnist_cnn.safetensors"]
          : statement.Resource == ["arn:aws:s3:::models/jobs/mnist_cnn/*", "arn:aws:s3:::models/jobs/mnist_cnn.safetensors"]
        )
      ]
    ]))
    error_message = "Every statement is about the federation's keys alone."
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement[0].Principal == { Service = "ec2.amazonaws.com" }])
    error_message = "Only EC2 may give these roles to anybody."
  }
}

run "storage" {
  command = plan

  module {
    source = "./modules/storage"
  }

  variables {
    bucket                   = "models"
    partition                = "aws"
    prefix                   = "jobs/mnist_cnn"
    old_rounds_after_days    = 30
    delete_rounds_after_days = null
    delete_models_on_destroy = false
  }

  assert {
    condition     = !aws_s3_bucket.models.force_destroy
    error_message = "A bucket with models in it is not destroyed."
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.models.rule[0].filter[0].prefix == "jobs/mnist_cnn/rounds/" && length(aws_s3_bucket_lifecycle_configuration.models.rule[0].expiration) == 0
    error_message = "Old rounds move to cheaper storage, and are not deleted."
  }

  assert {
    condition     = jsondecode(aws_s3_bucket_policy.models.policy).Statement[0].Effect == "Deny" && jsondecode(aws_s3_bucket_policy.models.policy).Statement[0].Condition == { Bool = { "aws:SecureTransport" = "false" } }
    error_message = "Whoever comes without TLS is refused."
  }
}

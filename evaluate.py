"""``python evaluate.py --maxlen N`` is ``fedtier evaluate``: test every published round, straight from S3."""

from fedtier_cli.evaluate_command import evaluate

evaluate(prog_name="evaluate.py")

"""AWS as far as `moto` plays it, in a process of its own: `python -m tests.infra.aws.simulator --host H --port P`.

Two things that `moto` gets wrong are put right here, so that the `.tf` files need not bow to them:

- A statement of a policy whose condition does not hold says nothing in AWS; in `moto` it denies. So a bucket that
  refuses plain HTTP refuses everybody there. The simulator speaks HTTP on loopback only, and stands for TLS.
- The description of a rule from one security group to another is forgotten.

It runs until its standard input is closed, as it is when the test that started it is killed.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from moto.ec2.models.security_groups import SecurityGroupRule
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.server import main

_WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}

_judge = IAMPolicyStatement.is_action_permitted


def _judge_as_by_tls(statement: IAMPolicyStatement, *request: Any, **more: Any) -> PermissionResult:
    if statement._statement.get("Condition") == _WITHOUT_TLS:
        return PermissionResult.NEUTRAL
    return _judge(statement, *request, **more)


def _description(rule: SecurityGroupRule) -> str | None:
    for kind in (rule.ip_range, rule.source_group):
        if kind and (description := kind.get("Description")):
            return str(description)
    return None


def _end_with_whoever_started_it() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_whoever_started_it, daemon=True).start()
    IAMPolicyStatement.is_action_permitted = _judge_as_by_tls  # type: ignore[method-assign, assignment]
    SecurityGroupRule.description = property(_description)  # type: ignore[method-assign, assignment]
    main(sys.argv[1:])

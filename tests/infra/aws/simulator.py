"""AWS as far as `moto` plays it, in a process of its own: `python -m tests.infra.aws.simulator --host H --port P`.

What `moto` gets wrong and the project needs is put right here. A statement of a policy whose condition does not hold
says nothing in AWS; in `moto` it denies. So a bucket that refuses plain HTTP refuses everybody there. The simulator
speaks plain HTTP on the loopback only, and stands for what is reached by TLS.
"""

from __future__ import annotations

import sys
from typing import Any

from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.server import main

_WITHOUT_TLS = {"Bool": {"aws:SecureTransport": "false"}}

_judge = IAMPolicyStatement.is_action_permitted


def _judge_as_by_tls(statement: IAMPolicyStatement, *request: Any, **more: Any) -> PermissionResult:
    if statement._statement.get("Condition") == _WITHOUT_TLS:
        return PermissionResult.NEUTRAL
    return _judge(statement, *request, **more)


if __name__ == "__main__":
    IAMPolicyStatement.is_action_permitted = _judge_as_by_tls  # type: ignore[method-assign, assignment]
    main(sys.argv[1:])

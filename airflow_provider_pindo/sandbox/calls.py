"""The calls of Pindo's API: their names, methods and paths."""

from __future__ import annotations

#: The calls by name, each with its method and its path as Pindo spells it, slashes included.
CALLS: dict[str, tuple[str, str]] = {
    "send_sms": ("POST", "/v1/sms/"),
    "send_bulk_sms": ("POST", "/v1/sms/bulk"),
    "verify": ("POST", "/v1/sms/verify"),
    "check_verification": ("POST", "/v1/sms/verify/check"),
    "get_verification": ("GET", "/v1/sms/verify/status/{request_id}"),
    "cancel_verification": ("PUT", "/v1/sms/verify/cancel/{request_id}"),
    "list_inbound_sms": ("GET", "/v1/sms/inbounds"),
    "get_balance": ("GET", "/wallets/self"),
    "get_organisation": ("GET", "/orgs/self/"),
    "update_organisation": ("PUT", "/orgs/self"),
    "list_sender_ids": ("GET", "/sender_ids/"),
    "request_sender_id": ("POST", "/sender_ids"),
    "get_analytics": ("GET", "/v2/sms/analytics"),
}
#: The calls with a JSON body.
CALLS_WITH_BODY = frozenset(
    {"send_sms", "send_bulk_sms", "verify", "check_verification", "update_organisation", "request_sender_id"}
)

"""Where forges ring: the signature is checked, the delivery stored, and that is all that happens before the answer."""

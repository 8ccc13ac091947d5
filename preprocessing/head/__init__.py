"""The head template of ChatAnyone: made from the face points of shards, or from a body model (CA-1)."""

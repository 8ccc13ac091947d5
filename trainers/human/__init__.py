"""Stages that no single paper owns."""

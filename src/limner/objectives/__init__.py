"""Objectives: pure functions with their equations and sources."""

"""The memory's schema, step by step.

A change of ``limner.memory.schema`` brings a new file ``versions/version_NNNN.py`` here, with ``revision``,
``down_revision`` and ``upgrade()``, and the new ``REVISION`` in the schema. A test compares what the migrations
make with what the schema says. A released migration never changes, and none is offered backwards.
"""

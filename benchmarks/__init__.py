"""The benchmark: prove that the frameworks agree, then time them.

.. include:: protocol.md
"""

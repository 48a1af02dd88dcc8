"""What is minimised.

.. include:: formulas.md
"""

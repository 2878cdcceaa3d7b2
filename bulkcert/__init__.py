"""Switches very many device certificates of ApsaraMQ for MQTT off or on."""

__version__ = "0.1.0"

"""Switches very many device certificates of ApsaraMQ for MQTT off or on, paced, stored, accounted for."""

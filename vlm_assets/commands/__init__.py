"""The commands of `vlm-assets`, by what they are about. Each resolves the installation and calls one function.

Reads settings and catalogue, prints. No rule about data lives here.
"""

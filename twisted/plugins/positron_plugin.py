"""The `twistd positron` subcommand. It imports nothing of ours: twistd reads this file for every user."""

from twisted.application.service import ServiceMaker

positron = ServiceMaker("Positron", "positron.tap", "A peer-to-peer gossip node.", "positron")

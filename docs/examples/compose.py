"""A node inside an application that is made of Twisted services."""

from twisted.application.service import MultiService

from positron import Config, Node


def make_application(reactor, config: Config) -> MultiService:
    """The application's services; its node starts and stops with them."""
    application = MultiService()
    node = Node(reactor, config)
    node.setServiceParent(application)
    node.subscribe("weather", lambda message: print(f"{message.author[:8]} says {message.data}"))
    node.when_ready().addCallback(lambda node: node.publish("weather", {"temperature": 21}))
    return application

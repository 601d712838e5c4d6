# twistd -ny node.tac
from twisted.application.service import Application
from twisted.internet import reactor

from positron import Config, Node


def hear(message):
    """Print what anybody in the network says about the weather."""
    print(f"{message.author[:8]} says {message.data}", flush=True)


node = Node(reactor, Config(network="lab", host="127.0.0.1", port=0))
node.subscribe("weather", hear)

application = Application("weather")
node.setServiceParent(application)
node.when_ready().addCallback(lambda node: node.publish("weather", "fine"))

"""The simulated pool as seen over the network: codecs, certificates, one HTTPS listener per host.

Nothing here knows what a VM is. A request becomes ``World.call(host, method, args)`` and its value
or ``ApiError`` becomes bytes again. Forms are those that a real XenAPI server was recorded to use.
"""

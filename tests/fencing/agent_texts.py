"""What agents say of themselves and of others, as they say it."""

from __future__ import annotations

from fencing.devices import DeviceUse

HEAD = b'<?xml version="1.0" ?>\n<resource-agent name="fence_ipmilan" shortdesc="IPMI">\n<parameters>\n'
TAIL = b"</parameters>\n<actions>%s</actions>\n</resource-agent>\n"
IPMILAN = (
    HEAD
    + b"""
<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/></parameter>
<parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string"/></parameter>
<parameter name="ipaddr" unique="0" required="1" deprecated="1"><content type="string"/></parameter>
<parameter name="ipport" required="0"><content type="integer" default="623"/></parameter>
<parameter name="lanplus" required="0"><content type="boolean" default="0"/></parameter>
<parameter name="privlvl" required="0"><content type="select" default="administrator">
  <option value="user"/><option value="administrator"/></content></parameter>
<parameter name="password" required="0" obsoletes="passwd"><content type="string"/></parameter>
<parameter name="passwd" required="0" deprecated="1"><content type="string"/></parameter>
<parameter name="username" required="1"><content type="string"/></parameter>
<parameter name="power_wait" required="0"><content type="second" default="2"/></parameter>
<parameter name="power_timeout" required="0"><content type="second" default="20"/></parameter>
"""
    + TAIL % b'<action name="off"/><action name="status"/>'
)
CREDENTIALS = {"username": "admin", "password": "hunter2"}


def use(agent: str = "fence_ipmilan", plug: str | None = None, **options: str) -> DeviceUse:
    return DeviceUse(
        device="bmc/xen1", node="xen1", agent=agent, plug=plug, options=options, power_s=20.0
    )

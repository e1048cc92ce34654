using System.Net;

namespace Agency.Analytics.Tests;

public sealed class NetworkAddressTests
{
    [Theory]
    [InlineData("10.0.0.0/8", "10.255.0.1", true)]
    [InlineData("10.0.0.0/8", "11.0.0.0", false)]
    [InlineData("10.0.0.0/8", "::ffff:10.1.1.1", true)]
    [InlineData("10.0.0.1", "10.0.0.1", true)]
    [InlineData("10.0.0.1/32", "10.0.0.2", false)]
    [InlineData("0.0.0.0/0", "203.0.113.9", true)]
    [InlineData("0.0.0.0/0", "2001:db8::1", false)]
    [InlineData("::/0", "2001:db8::1", true)]
    [InlineData("2001:db8::/33", "2001:db8:7fff::1", true)]
    [InlineData("2001:db8::/33", "2001:db8:8000::1", false)]
    [InlineData("::ffff:10.0.0.0/104", "10.9.9.9", true)]
    public void A_network_holds_the_addresses_that_begin_as_it_does(string text, string address, bool holds)
    {
        Assert.True(NetworkAddress.TryParse(text, out NetworkAddress network, out var normal));
        Assert.True(NetworkAddress.TryParse(address, out IPAddress? given));
        Assert.Equal(holds, network.Contains(NetworkAddress.Number(given)));
        Assert.True(NetworkAddress.TryParse(normal, out NetworkAddress same, out _));
        Assert.Equal(network, same);
    }
}

using Agency.Testing;

namespace Agency.Analytics.Tests;

public sealed class EventSchemaTests
{
    [Fact]
    public void Each_event_still_has_what_its_schema_promises() =>
        Assert.Empty(EventSchemas.Check(typeof(EventTrackedEvent).Assembly, "functions/analytics/Domain/Schemas"));
}

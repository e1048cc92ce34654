using Agency.Platform;

namespace Agency.Sagas.Tests;

public sealed class SagaDefinitionTests
{
    private static SagaDefinition<OrderInput> Empty => Saga.Define("empty", OrderJson.Default.OrderInput);

    [Fact]
    public void Two_steps_of_one_name_are_refused() =>
        Assert.Contains("two steps named reserve-stock", Assert.Throws<ArgumentException>(() => Orders.Plain.WaitFor("reserve-stock")).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("")]
    [InlineData("Order")]
    [InlineData("order fulfilment")]
    [InlineData("order\n")]
    public void A_name_that_is_not_lower_case_words_is_refused(string name)
    {
        Assert.Throws<ArgumentException>(() => Saga.Define(name, OrderJson.Default.OrderInput));
        Assert.Throws<ArgumentException>(() => Empty.Step(name));
        Assert.Throws<ArgumentException>(() => Empty.Step("charge", undo: name));
        Assert.Throws<ArgumentException>(() => Empty.WaitFor(name));
    }

    [Theory]
    [InlineData("")]
    [InlineData("a/b")]
    [InlineData("a b")]
    [InlineData("a\0")]
    public void A_key_that_does_not_fit_in_a_path_is_refused(string key) => Assert.Throws<ArgumentException>(() => Saga.IdOf("order", key));

    [Fact]
    public void Times_and_attempts_that_make_no_sense_are_refused()
    {
        Assert.Throws<ArgumentException>(() => Empty.Delay("pause", TimeSpan.Zero));
        Assert.Throws<ArgumentException>(() => Empty.Delay("pause", TimeSpan.MaxValue));
        Assert.Throws<ArgumentException>(() => Empty.WaitFor("shipped", TimeSpan.FromSeconds(-1)));
        Assert.Throws<ArgumentException>(() => Empty.Step("charge", timeout: TimeSpan.FromDays(2)));
        Assert.Throws<ArgumentException>(() => Empty.Step("charge", retry: new(0, TimeSpan.Zero, TimeSpan.Zero)));
        Assert.Throws<ArgumentException>(() => Empty.Step("charge", retry: new(1, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(1))));
    }

    [Fact]
    public void A_definition_reads_back_as_it_was_written()
    {
        var read = SagaDefinition.FromJson(Orders.Fulfilment.ToJson());
        Assert.Equal(Orders.Fulfilment.Name, read.Name);
        Assert.Equal(Orders.Fulfilment.Steps, read.Steps);
    }

    [Fact]
    public void A_step_without_an_undo_is_passed_over_on_the_way_back()
    {
        var saga = Empty.Step("one", undo: "undo-one").Step("two").WaitFor("three").Step("four", undo: "undo-four");
        Assert.Equal(3, saga.UndoBefore(4));
        Assert.Equal(0, saga.UndoBefore(3));
        Assert.Null(saga.UndoBefore(0));
    }

    [Fact]
    public void Delays_double_up_to_their_limit_and_vary_by_half()
    {
        var retry = new RetryPolicy(9, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10));
        Assert.Equal([1, 2, 4, 8, 10, 10], Enumerable.Range(1, 6).Select(n => retry.DelayAfter(n, 1).TotalSeconds));
        Assert.Equal(2, retry.DelayAfter(3, 0).TotalSeconds);
        Assert.Equal(10, retry.DelayAfter(int.MaxValue, 1).TotalSeconds);
    }

    [Fact]
    public void A_saga_that_calls_an_unknown_activity_is_refused_with_a_sentence() => Assert.Equal(
        """Saga plain-order calls the activity reserve-stock, but no class of its app or domain has [Activity("reserve-stock")].""",
        Assert.Throws<InvalidOperationException>(() => new SagaCatalog([Orders.Plain], [])).Message);

    [Fact]
    public void An_unknown_undo_is_refused_too() => Assert.Contains(
        "activity reverse",
        Assert.Throws<InvalidOperationException>(() => new SagaCatalog([Empty.Step("sleep", undo: "reverse")], [typeof(OrderActivity)])).Message,
        StringComparison.Ordinal);

    [Fact]
    public void Two_sagas_or_two_activities_of_one_name_are_refused()
    {
        Assert.Throws<InvalidOperationException>(() => new SagaCatalog([Orders.Plain, Orders.Plain], [typeof(OrderActivity)]));
        Assert.Throws<InvalidOperationException>(() => new SagaCatalog([], [typeof(OrderActivity), typeof(OrderActivity)]));
    }

    [Fact]
    public void A_saga_without_steps_and_an_activity_without_a_name_are_refused()
    {
        Assert.Throws<InvalidOperationException>(() => new SagaCatalog([Empty], []));
        Assert.Throws<InvalidOperationException>(() => new SagaCatalog([], [typeof(string)]));
    }
}
